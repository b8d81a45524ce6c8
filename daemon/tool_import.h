/* `latentd import DIR -o FILE [--type T]`: a Hugging Face checkpoint folder into a model file. */
#ifndef DAEMON_TOOL_IMPORT_H
#define DAEMON_TOOL_IMPORT_H

/* argv[0] is "import". Returns the process's exit status: 0 done, 1 failed, 2 used wrongly. */
int tool_import(int argc, char **argv);

#endif
