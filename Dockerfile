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
# tini reaps orphans and passes signals on. The capability lets an ordinary user listen on 80 and 443.
RUN apt-get update \
  && apt-get install -y --no-install-recommends tini libcap2-bin \
  && setcap cap_net_bind_service=+ep "$(readlink -f "$(command -v node)")" \
  && apt-get purge -y --auto-remove libcap2-bin \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/skerry
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
RUN ln -s /opt/skerry/dist/cli/skerry.js /usr/local/bin/skerry \
  && ln -s /opt/skerry/dist/cli/wormhole.js /usr/local/bin/wormhole \
  && chmod 755 dist/cli/*.js \
  && install -d -o node -g node -m 700 /data /data/certs /etc/skerry
USER node
# Certificates and the ACME account live here: with "storage": "file:/data/certs" they outlive the container.
VOLUME /data
EXPOSE 80 443
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "skerry"]
CMD ["serve", "--config", "/etc/skerry/skerry.config.ts"]
