// Everything that another page embeds: <script type="module" src="…/page/elements.js">, then the elements.

import "./about.js";
import "./agents.js";
import "./chat.js";
import "./files.js";
import "./pairing.js";
import "./uploadlist.js";

export { source } from "./part.js";
