/* `latentd import-hnswlib`: makes a collection of an index file that hnswlib saved, in a data folder that no daemon has open.
 * Its exit status: 0 done, 1 not, 2 used wrongly. */
#ifndef DAEMON_TOOL_HNSWLIB_H
#define DAEMON_TOOL_HNSWLIB_H

int tool_hnswlib(int argc, char **argv);

#endif
