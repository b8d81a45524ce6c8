/* Evaluation's readers: any bytes as JSON lines and as judgements. */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "clients/cli/beir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct beir_reader *r = NULL;
    struct beir_qrels *q = NULL;
    struct beir_item it;
    char path[64];
    int e, ideal[10], fd = memfd_create("beir", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    FUZZ_CHECK(beir_reader_open(&r, path, NULL) == 0);
    for (size_t calls = 0; (e = beir_reader_next(r, &it, NULL)) != 0; calls++) {
        FUZZ_CHECK(calls <= size);
        FUZZ_CHECK(e < 0 || (it.id_len && strlen(it.id) == it.id_len && strlen(it.text) == it.text_len &&
                             strlen(it.title) == it.title_len));
    }
    beir_reader_destroy(&r);
    if (beir_qrels_load(&q, path, NULL) == 0) {
        FUZZ_CHECK(beir_qrels_ideal(q, "q1", ideal, 10) == beir_qrels_relevant(q, "q1"));
        FUZZ_CHECK(beir_qrels_queries(q) <= size);
        beir_qrels_grade(q, "q1", "d1");
        beir_qrels_destroy(&q);
    }
    close(fd);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const seeds[] = {
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t3\r\nq2\td1\t0\nq1\td1\t1\n",
        "{\"_id\":\"1\",\"title\":\"T\",\"text\":\"x \xC3\xA4\",\"metadata\":{\"a\":[1,2.5e3,null]}}\n\n{\"_id\":7,\"text\":\"\"}",
    };
    if (i >= 2 || strlen(seeds[i]) > cap)
        return 0;
    memcpy(buf, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
