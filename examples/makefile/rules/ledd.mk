# The lights of a switch.

LEDD = ledd_0.9-1_$(ARCH).deb
$(LEDD)_SRC_PATH = src/ledd
$(LEDD)_ENV = platform LED_PROFILE
$(eval $(call add_package,$(LEDD)))

LEDD_DEV = ledd-dev_0.9-1_all.deb
$(eval $(call add_derived,$(LEDD),$(LEDD_DEV)))

LEDD_DBG = ledd-dbg_0.9-1_$(ARCH).deb
$(eval $(call add_derived,$(LEDD),$(LEDD_DBG)))
