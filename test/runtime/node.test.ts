import { edgeSuite } from "./suite.ts";

edgeSuite("node");
