# Shows ports; built with the headers and the library of libportname.

PORTCTL = portctl_2.0-1_$(ARCH).deb
$(PORTCTL)_SRC_PATH = src/portctl
$(PORTCTL)_DEPENDS = $(LIBPORTNAME) $(LIBPORTNAME_DEV)
$(PORTCTL)_ENV = platform
$(eval $(call add_package,$(PORTCTL)))

PORTCTL_DBG = portctl-dbg_2.0-1_$(ARCH).deb
$(eval $(call add_derived,$(PORTCTL),$(PORTCTL_DBG)))
