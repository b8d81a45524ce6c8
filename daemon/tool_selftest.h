/* `latentd selftest [--device D] [--model FILE]`: the ops' conformance cases and a model's golden vectors on this machine. */
#ifndef DAEMON_TOOL_SELFTEST_H
#define DAEMON_TOOL_SELFTEST_H

/* argv[0] is "selftest". Returns the process's exit status: 0 every device passed, 1 one failed or could not be opened, 2 used wrongly. */
int tool_selftest(int argc, char **argv);

#endif
