#define PLATFORM_NAME "generic"
#define PLATFORM_PORTS 4
