# syntax=docker/dockerfile:1

# Two stages: the first builds JavaScript from TypeScript, the second has only what runs.
FROM node:26-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build && npm prune --omit=dev

FROM node:26-bookworm-slim
# tini reaps orphans and passes signals on.
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/skerry
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
COPY scripts/docker-entrypoint.sh /usr/local/bin/
RUN chmod 755 dist/cli/skerry.js \
  && ln -s /opt/skerry/dist/cli/skerry.js /usr/local/bin/skerry \
  && install -d -o node -g node -m 700 /data /data/certs \
  && install -d /etc/skerry
# Certificates and the ACME account live here: with "storage": "file:/data/certs" they outlive the container.
VOLUME /data
EXPOSE 80 443
STOPSIGNAL SIGTERM
# Skerry itself runs as the user `node`; the entry point needs root for a moment, to hand over a volume that root made.
ENTRYPOINT ["tini", "--", "docker-entrypoint.sh"]
CMD ["serve", "--config", "/etc/skerry/skerry.config.ts"]
