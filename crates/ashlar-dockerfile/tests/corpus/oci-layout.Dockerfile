FROM oci:images/base:v1
COPY --from=oci:images/tools /bin/tool /bin/
RUN tool
