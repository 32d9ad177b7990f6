# escape=\
FROM scratch
COPY été /日本/
LABEL name="日本"
