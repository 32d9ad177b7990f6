# A comment that is no directive

# syntax=ignored/because:late

   # indented
FROM scratch   
# between
RUN echo hello \
# inside, at the start of the line
  # inside, indented

  world # not a comment
    RUN indented
