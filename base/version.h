/* The product's version, printed by every program's --version and by `status`. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define LATENTD_VERSION "0.1.0"

#endif
