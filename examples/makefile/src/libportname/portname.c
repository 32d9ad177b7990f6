#include "portname.h"

#include <stdio.h>

int port_name(unsigned port, char *name, size_t size)
{
    int length = snprintf(name, size, "eth%u", port);
    return length < 0 || (size_t)length >= size ? -1 : length;
}
