/* Texts of others, ids and file names say, on one line of a terminal: what would move its cursor, colour it or end the line is
 * written as an escape (\n, \t, \x1b), and so is a byte that is no UTF-8 (\xff). Thread-safety: unsafe. */
#ifndef CLI_TEXT_OUT_H
#define CLI_TEXT_OUT_H

#include <stddef.h>
#include <stdio.h>

/* also   characters that get a backslash before them, quotes say; "": none */
void text_out(FILE *f, const char *s, size_t len, const char *also);

/* Bytes, 1 or 2, of the control character at s, of the two groups that terminals act on (C0 and DEL, C1); 0: it is none. */
size_t text_control(const char *s, size_t len);

/* One line of f, or of standard error. What is longer than 8 KiB is cut. */
void text_line(FILE *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
