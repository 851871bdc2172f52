import { edgeSuite } from "./suite.ts";

edgeSuite("bun");
