FROM nginx:1.25-alpine
LABEL org.opencontainers.image.title="A site" \
      org.opencontainers.image.description="It has \"quotes\" and  spaces" \
      'com.example.single quoted'='$not expanded'
COPY --chmod=644 nginx/*.conf /etc/nginx/conf.d/
COPY public/ /usr/share/nginx/html/
VOLUME ["/var/cache/nginx", "/var/run"]
EXPOSE 80 443/tcp 8000-8003/udp
STOPSIGNAL SIGQUIT
