# The release that all modules belong to. Every file of this folder enters every module's key, so
# a new release builds everything anew; that is right for few things, and an option or an `env` of
# the modules that need it is better for most.
FIRMWARE_RELEASE=1
