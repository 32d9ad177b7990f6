FROM scratch
LABEL a="one two" b='three four' c=five\ six d="it's" e='say "hi"' f="\"q\"" g=
ENV EMPTY= QUOTES="\"" DOLLAR=\$x TAB="a	b" BACKSLASH=a\\b
COPY ["with space", "and \"quotes\"", "/dest dir/"]
CMD ["sh", "-c", "printf '%s\\n' \"$HOME\" \u00e9"]
