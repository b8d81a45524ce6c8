/* `latentd backup`: a copy of a data folder, of a daemon that may be running. Its exit status: 0 done, 1 not, 2 used wrongly. */
#ifndef DAEMON_TOOL_BACKUP_H
#define DAEMON_TOOL_BACKUP_H

int tool_backup(int argc, char **argv);

#endif
