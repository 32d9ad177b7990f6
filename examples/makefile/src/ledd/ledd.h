#ifndef LEDD_H
#define LEDD_H

/* How bright the light of a port is, in percent. */
int led_brightness(int link);

#endif
