# a build of three stages, one of which fails
FROM nexus-test/shell:1 AS tools
RUN echo ready

FROM nexus-test/shell:1 AS build
WORKDIR /src
RUN seq 1 50 && \
    # a comment inside
    echo broken >&2 && \
    exit 3

FROM scratch AS image
COPY --from=tools /etc /etc
COPY --from=build /src /src
