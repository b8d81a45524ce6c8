/* The writer's statements: S(name, text), included with S defined (index/store.h, index/store.c). */
S(COUNTERS, "SELECT seq, next_doc, next_chunk FROM counters")
S(SAVE_COUNTERS, "UPDATE counters SET seq = ?, next_doc = ?, next_chunk = ?")
S(COLLECTION_ADD, "INSERT INTO collections(name, dim, metric, vectors_only, temporary, m, ef_construction,"
                  " fingerprint, accepted_seq, codes) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
S(COLLECTION_DROP, "UPDATE collections SET dropped = 1 WHERE coll = ?")
S(COLLECTION_RENAME, "UPDATE collections SET name = ? WHERE coll = ?")
S(JOB_MOVE, "UPDATE jobs SET coll = ? WHERE coll = ?")
S(JOB_RENAME, "UPDATE jobs SET collection = ? WHERE coll = ?")
S(COLLECTION_FIGURES, "UPDATE collections SET documents = ?, chunks = ?, pending = ?, bytes = ?,"
                      " accepted_seq = ? WHERE coll = ?")
S(DOC_FIND, "SELECT doc, first_chunk, n_chunks, n_pending, job, seq, bytes FROM documents"
            " WHERE coll = ? AND id = ? AND live = ?")
S(DOC_BY_ID, "SELECT doc, first_chunk, n_chunks, n_pending, job, seq, bytes, live, id, title, coll"
             " FROM documents WHERE doc = ?")
S(DOC_ADD, "INSERT INTO documents(doc, coll, id, live, seq, job, first_chunk, n_chunks, n_pending, bytes,"
           " metadata, title, source) VALUES(?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
S(DOC_LIVE, "UPDATE documents SET live = 1 WHERE doc = ?")
S(DOC_PENDING, "UPDATE documents SET n_pending = n_pending - 1 WHERE doc = ? RETURNING n_pending")
S(DOC_DELETE, "DELETE FROM documents WHERE doc = ?")
S(DOC_OLDEST_STAGED, "SELECT min(seq) FROM documents WHERE coll = ? AND live = 0")
S(DOC_STAGED_OF_JOB, "SELECT doc, n_chunks, min(max(source, 0), 4294967295) FROM documents WHERE live = 0 AND job = ?"
                     " AND coll NOT IN (SELECT coll FROM collections WHERE dropped)")
S(DOC_JOB, "UPDATE documents SET job = ? WHERE doc = ?")
S(TEXT_ADD, "INSERT INTO texts VALUES(?, ?)")
S(TEXT_GET, "SELECT text FROM texts WHERE doc = ?")
S(TEXT_DELETE, "DELETE FROM texts WHERE doc = ?")
S(CHUNK_ADD, "INSERT INTO chunks VALUES(?, ?, ?, ?, ?, ?, ?)")
S(CHUNK_GET, "SELECT doc, coll, vseq FROM chunks WHERE chunk = ?")
S(CHUNK_SPANS, "SELECT chunk, start, end FROM chunks WHERE chunk BETWEEN ? AND ? AND doc = ? ORDER BY chunk")
S(DOC_WORDS, "SELECT d.title, d.metadata, t.text FROM documents d JOIN texts t ON t.doc = d.doc WHERE d.doc = ?")
S(CHUNK_VSEQ, "UPDATE chunks SET vseq = ? WHERE chunk BETWEEN ? AND ?")
S(CHUNK_COUNT, "SELECT count(*), count(*) - count(vseq) FROM chunks WHERE chunk BETWEEN ? AND ? AND doc = ?")
S(CHUNKS_OF_DOC, "SELECT chunk, vseq FROM chunks WHERE doc = ? AND chunk > ? ORDER BY chunk") /* reads all rows */
S(CHUNK_DELETE, "DELETE FROM chunks WHERE chunk BETWEEN ? AND ?")
S(VECTOR_ADD, "INSERT OR REPLACE INTO vectors VALUES(?, ?)") /* there is one only where rows are damaged */
S(TAIL_ADD, "INSERT OR REPLACE INTO vector_tails VALUES(?, ?)")
S(VECTOR_DELETE, "DELETE FROM vectors WHERE chunk BETWEEN ? AND ?")
S(TAIL_DELETE, "DELETE FROM vector_tails WHERE chunk BETWEEN ? AND ?")
S(CHUNK_VECTOR, "SELECT c.coll, v.data, t.data FROM chunks c LEFT JOIN vectors v ON v.chunk = c.chunk"
                " LEFT JOIN vector_tails t ON t.chunk = c.chunk WHERE c.chunk = ?")
S(REMOVED_ADD, "INSERT INTO removed VALUES(?, ?, ?)")
S(REMOVED_AFTER, "SELECT chunk FROM removed WHERE coll = ? AND seq > ?")
S(REMOVED_PRUNE, "DELETE FROM removed WHERE coll = ? AND seq <= ?")
/* "> 0" is what the partial index chunks_vseq asks for; the bound that says more comes first, since SQLite starts at the first. */
S(REFILL, "SELECT c.vseq, c.chunk, v.data, t.data FROM chunks c LEFT JOIN vectors v ON v.chunk = c.chunk"
          " LEFT JOIN vector_tails t ON t.chunk = c.chunk"
          " WHERE c.coll = ? AND c.vseq > ? AND c.vseq > 0"
          " ORDER BY c.vseq, c.chunk")
S(COVERED, "SELECT c.chunk, v.data, t.data FROM chunks c LEFT JOIN vectors v ON v.chunk = c.chunk"
           " LEFT JOIN vector_tails t ON t.chunk = c.chunk WHERE c.coll = ? AND c.vseq <= ? AND c.vseq > 0")
S(REFILL_COUNT, "SELECT count(*) FROM chunks WHERE coll = ? AND vseq > ? AND vseq > 0")
S(PENDING, "SELECT c.chunk, c.doc, c.coll, c.number, c.start, c.end, d.n_chunks, d.job, d.id, d.title"
           " FROM chunks c JOIN documents d ON d.doc = c.doc WHERE c.vseq IS NULL AND c.chunk > ?"
           " ORDER BY c.chunk")
S(JOB_ADD, "INSERT INTO jobs(collection, coll, label, state, total_documents, total_bytes, created_ms)"
           " VALUES(?, ?, ?, 0, ?, ?, ?)")
S(JOB_STATE, "SELECT state, (SELECT k.name FROM collections k WHERE k.coll = jobs.coll AND NOT k.dropped) FROM jobs WHERE job = ?")
S(JOB_SET_STATE, "UPDATE jobs SET state = ? WHERE job = ?")
S(JOB_COUNT, "UPDATE jobs SET accepted = accepted + ?, searchable = searchable + ?, failed = failed + ?,"
             " received_bytes = received_bytes + ? WHERE job = ?")
S(JOB_LET_GO, "UPDATE jobs SET received_bytes = max(0, received_bytes - ?) WHERE job = ?")
S(JOB_TO_DROP, "SELECT j.job FROM jobs j JOIN collections k ON k.coll = j.coll WHERE j.state = 3 AND NOT k.dropped"
               " AND EXISTS (SELECT 1 FROM documents d WHERE d.live = 0 AND d.job = j.job) LIMIT 1")
S(JOBS_OPEN, "SELECT j.job, EXISTS (SELECT 1 FROM documents d WHERE d.live = 0 AND d.job = j.job) FROM jobs j"
             " WHERE j.state = 0 AND j.job > ? ORDER BY j.job LIMIT 256")
S(JOB_ERROR, "UPDATE jobs SET last_error = ? WHERE job = ?")
S(JOB_PRUNE, "DELETE FROM jobs WHERE state <> 0 AND job <= (SELECT max(job) FROM jobs) - 1000"
             " AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.live = 0 AND d.job = jobs.job)")
S(DROPPED, "SELECT coll FROM collections WHERE dropped = 1 LIMIT 1")
S(DROPPED_DOCS, "SELECT doc, first_chunk, n_chunks, n_pending, job, seq, bytes FROM documents WHERE coll = ? LIMIT ?")
S(DROPPED_REMOVED, "DELETE FROM removed WHERE coll = ?")
S(DROPPED_END, "DELETE FROM collections WHERE coll = ?")
