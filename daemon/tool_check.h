/* `latentd check`: verifies a data folder, and mends it when asked. Its exit status: 0 nothing is wrong (any more),
 * 1 problems are left or the folder cannot be looked at, 2 used wrongly. */
#ifndef DAEMON_TOOL_CHECK_H
#define DAEMON_TOOL_CHECK_H

int tool_check(int argc, char **argv);

#endif
