#define PLATFORM_NAME "vs"
#define PLATFORM_PORTS 2
