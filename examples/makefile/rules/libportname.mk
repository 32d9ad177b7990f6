# Names of ports.

LIBPORTNAME = libportname_1.2-1_$(ARCH).deb
$(LIBPORTNAME)_SRC_PATH = src/libportname
$(eval $(call add_package,$(LIBPORTNAME)))

LIBPORTNAME_DEV = libportname-dev_1.2-1_$(ARCH).deb
$(eval $(call add_derived,$(LIBPORTNAME),$(LIBPORTNAME_DEV)))

LIBPORTNAME_DOC = libportname-doc_1.2-1_all.deb
$(eval $(call add_derived,$(LIBPORTNAME_DEV),$(LIBPORTNAME_DOC)))

LIBPORTNAME_DBG = libportname-dbg_1.2-1_$(ARCH).deb
$(eval $(call add_derived,$(LIBPORTNAME),$(LIBPORTNAME_DBG)))
