#include <portname.h>
#include <stdio.h>
#include <stdlib.h>

#include "platform.h"

int main(int argc, char **argv)
{
    unsigned port, ports = argc > 1 ? (unsigned)atoi(argv[1]) : PLATFORM_PORTS;
    char name[32];

    printf("platform %s\n", PLATFORM_NAME);
    for (port = 0; port < ports; port++)
        if (port_name(port, name, sizeof name) > 0)
            printf("%s\n", name);
    return 0;
}
