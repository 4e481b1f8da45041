import { defineConfig } from "@playwright/test";

export default defineConfig({
  testDir: "browser",
  outputDir: "../test-results/failed",
  globalSetup: "./system.ts",
  fullyParallel: true,
  workers: 2,
  // A loaded machine may be slow once; the report says which test it was.
  retries: process.env.CI ? 1 : 0,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: "list",
  use: {
    // Set by the global setup, unless it is given: any deployment can be tested.
    ...(process.env.BASE_URL ? { baseURL: process.env.BASE_URL } : {}),
    browserName: "chromium",
    screenshot: "only-on-failure",
    viewport: { width: 1280, height: 800 },
    launchOptions: {
      ...(process.env.CHROMIUM ? { executablePath: process.env.CHROMIUM } : {}),
      args: [
        "--no-sandbox",
        "--disable-gpu",
        // Containers often have little of it.
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
});
