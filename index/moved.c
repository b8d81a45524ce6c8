/* A data folder that is moved, deleted or replaced while it is open. SQLite would go on writing to the files that it has, and acknowledge
 * what nobody finds again; graphs would be saved in the folder of whoever has the path now. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"
#include "index/store.h"

void moved_note(struct index *ix)
{
    struct stat st;
    if (stat(ix->db_path, &st) == 0) {
        ix->db_dev = st.st_dev;
        ix->db_ino = st.st_ino;
    }
}

/* The file is open, so its number is nobody else's. */
static bool is_elsewhere(const struct index *ix)
{
    struct stat st;
    if (stat(ix->db_path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR;
    return st.st_dev != ix->db_dev || st.st_ino != ix->db_ino;
}

bool moved_check(struct index *ix)
{
    if (ix->moved || !ix->db_ino || !is_elsewhere(ix))
        return ix->moved;
    ix->moved = true;
    pthread_mutex_lock(&ix->lock);
    snprintf(ix->reason, sizeof ix->reason, "%.120s: moved, deleted or replaced while in use; stop latentd and start it again", ix->db_path);
    ix->broken = true;
    pthread_mutex_unlock(&ix->lock);
    log_error("index", "%s: moved, deleted or replaced while in use; nothing is written any more", ix->db_path);
    for (size_t i = 0; i < ix->n_collections; i++)
        graph_forsake(ix->collections[i]->graph);
    return true;
}
