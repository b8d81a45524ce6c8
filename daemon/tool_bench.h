/* `latentd bench [--device D] [--model FILE] [--profile]`: how fast a model is on a device, and where the time goes. */
#ifndef DAEMON_TOOL_BENCH_H
#define DAEMON_TOOL_BENCH_H

/* argv[0] is "bench". Returns the process's exit status: 0, 1 a device or model that cannot be used, 2 used wrongly. */
int tool_bench(int argc, char **argv);

#endif
