#ifndef PORTNAME_H
#define PORTNAME_H

#include <stddef.h>

/* Writes the name of a front panel port, counted from 0. Returns its length, or -1 when it does not
 * fit. */
int port_name(unsigned port, char *name, size_t size);

#endif
