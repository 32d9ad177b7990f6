ARG NODE=20
FROM node:${NODE} AS base
ENV NODE_ENV=production
WORKDIR /usr/src/app

FROM base AS deps
COPY package.json package-lock.json* ./
RUN npm ci --omit=dev

FROM base AS build
COPY --from=deps /usr/src/app/node_modules ./node_modules
COPY . .
RUN npm run build

FROM base AS runtime
RUN addgroup --system --gid 1001 nodejs \
 && adduser --system --uid 1001 web
COPY --from=build --chown=web:nodejs /usr/src/app/dist ./dist
COPY --from=deps /usr/src/app/node_modules ./node_modules
USER web
EXPOSE 3000
ENV PORT=3000
CMD ["node", "dist/server.js"]
