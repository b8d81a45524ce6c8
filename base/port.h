/* TCP ports as they are written. Thread-safety: safe. */
#ifndef BASE_PORT_H
#define BASE_PORT_H

#include <stdbool.h>

/* A number from 0 to 65535, or what may be a service's name, which getaddrinfo looks up. Asked before it is: there 99999 is 34463. */
bool port_valid(const char *text);

#endif
