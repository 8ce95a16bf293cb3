# One recipe for every service: docker build -f deploy/service.Dockerfile --build-arg SERVICE=sql .
# Source is run as it is (docs/adr/0005-source-in-images.md); FOLDER is for what is not a service, as the set-up is.
ARG NODE_IMAGE=node:24-slim

FROM ${NODE_IMAGE} AS install
RUN npm install --global pnpm@12.21.0
WORKDIR /postern
COPY .npmrc package.json pnpm-lock.yaml pnpm-workspace.yaml ./
COPY packages packages
ARG SERVICE
ARG FOLDER=services/${SERVICE}
COPY ${FOLDER} ${FOLDER}
# The lockfile is the one that every install of the repository checks against its policies; a build need not ask again.
# The set-up starts no embedded server; everything else needs its optional parts, which are compiled per platform.
RUN --mount=type=cache,id=pnpm,target=/pnpm \
    pnpm install --frozen-lockfile --config.trustLockfile=true --prod --store-dir /pnpm --package-import-method copy \
    $([ "$SERVICE" = deploy ] && echo --no-optional) --filter "@postern/${SERVICE}..."

FROM ${NODE_IMAGE}
ARG SERVICE
ARG FOLDER=services/${SERVICE}
COPY --from=install /postern /postern
# What is served of them.
COPY docs /postern/docs
# Volumes take over the owner of the folder they are mounted on.
RUN install -d -o node -g node /var/spool/postern /run/postern \
    && for name in edge auth session sql app postgres redis nats operator observer; do install -d -o node -g node /secrets/$name; done
WORKDIR /postern/${FOLDER}
ENV NODE_ENV=production \
    HTTP_HOST=0.0.0.0 \
    HTTP_PORT=8080 \
    OPS_PORT=8081
USER node
HEALTHCHECK --interval=3s --timeout=3s --start-period=60s --retries=5 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.OPS_PORT}/readyz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node"]
CMD ["--import", "@postern/service-kit/telemetry", "src/main.ts"]
