FROM scratch AS a
HEALTHCHECK NONE
FROM a AS b
HEALTHCHECK --start-period=1m30s --start-interval=500ms CMD ["/check", "--quick"]
FROM b
healthcheck cmd /check
