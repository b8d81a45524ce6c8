/* Putting a document again that search finds already: its vectors need not be made a second time. */
#ifndef INDEX_KEPT_H
#define INDEX_KEPT_H

#include "index/store.h"

enum kept {
    KEPT_NOTHING, /* another title, text or other chunks; or not all of its rows and vectors can be used */
    KEPT_VECTORS, /* the same but for the metadata */
    KEPT_ALL,
};

/* (writer) What of `old`, the live version of d's id, holds for d, whose n chunks were checked. *out on success. In the open group.
 * KEPT_VECTORS: the vectors lie under the numbers from `first` on as well, which no chunk has yet: each is read once, checked and copied.
 * Else none lies there. */
int kept_compare(struct index *ix, const struct collection *c, const struct doc_row *old, const struct index_doc *d, size_t n,
                 uint64_t first, enum kept *out, struct err_msg *em);

#endif
