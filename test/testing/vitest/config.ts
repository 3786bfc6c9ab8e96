import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { include: ['own.js', 'broken.js'], exclude: [] } })
