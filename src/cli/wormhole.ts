#!/usr/bin/env node
import { runWormhole } from "./wormhole-run.ts";

process.exit(await runWormhole(process.argv.slice(2)));
