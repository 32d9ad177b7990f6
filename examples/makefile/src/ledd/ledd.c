#include "ledd.h"

#include <stdio.h>

#ifndef LED_BRIGHT
#define LED_BRIGHT 40
#endif

int led_brightness(int link)
{
    return link ? LED_BRIGHT : 0;
}

int main(void)
{
    printf("%s: %d %%\n", PLATFORM, led_brightness(1));
    return 0;
}
