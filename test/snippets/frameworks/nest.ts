import { Logger, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { handleUpgrades, proxyMiddleware } from 'heddle/express'
import type { Given, Started } from './given.ts'

class AppModule {}
Module({})(AppModule)
Logger.overrideLogger(false)

export async function start({ target, port }: Given): Promise<Started> {
  const app = await NestFactory.create(AppModule)
  const api = proxyMiddleware({ target })
  app.use('/api', api)
  await app.listen(port)
  handleUpgrades(app.getHttpServer(), app.getHttpAdapter().getInstance())
  return { server: app.getHttpServer(), proxies: [api.proxy], close: () => app.close() }
}
