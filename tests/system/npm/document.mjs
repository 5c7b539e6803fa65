// document.mjs DOCUMENT ANSWERS: what is wrong with an OpenAPI document, and with answers by its schemas.
// ANSWERS is [{method, path, status, body}], path as the document has it. Prints a line for each thing; none: all is well.
import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const document = JSON.parse(readFileSync(process.argv[2], "utf8"));
const answers = JSON.parse(readFileSync(process.argv[3], "utf8"));
const complain = (...words) => console.log(words.join(" "));

const validator = new Validator();
const result = await validator.validate(structuredClone(document));
if (!result.valid) complain("the document is not valid:", JSON.stringify(result.errors));
if (validator.version !== "3.1") complain("the document is of version", validator.version);

const ajv = new Ajv2020.default({ strict: true, strictRequired: false, allowUnionTypes: true, allErrors: true });
addFormats.default(ajv);
for (const format of ["int64", "double"]) ajv.addFormat(format, true);
ajv.addKeyword("components");

const resolve = (it) => (it?.$ref ? resolve(it.$ref.slice(2).split("/").reduce((at, step) => at?.[step], document)) : it);

// Each expression, example and default must be what its schema says.
function inspect(schema, where) {
  if (typeof schema !== "object" || schema === null) return;
  if (schema.pattern) for (const flags of ["u", ""]) new RegExp(schema.pattern, flags);
  for (const example of [...(schema.examples ?? []), ...("default" in schema ? [schema.default] : [])]) {
    const check = ajv.compile({ ...schema, $id: undefined, components: document.components, examples: undefined });
    if (!check(example)) complain(where, "has an example that is not valid:", JSON.stringify(example), ajv.errorsText(check.errors));
  }
  for (const [name, below] of Object.entries(schema)) if (typeof below === "object") inspect(below, `${where}/${name}`);
}
inspect(document.components, "components");

for (const [path, item] of Object.entries(document.paths))
  for (const [method, operation] of Object.entries(item)) {
    inspect(operation, `${method} ${path}`);
    const named = new Set((operation.parameters ?? []).map(resolve).filter((it) => it.in === "path").map((it) => it.name));
    const places = new Set([...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]));
    if (named.size !== places.size || [...named].some((name) => !places.has(name)))
      complain(method, path, "has other parameters than places");
  }

for (const { method, path, status, body } of answers) {
  const where = `${method} ${path} ${status}`;
  const response = resolve(document.paths[path]?.[method]?.responses?.[status]);
  if (!response) {
    complain(where, "is not described");
    continue;
  }
  const [type] = Object.keys(response.content ?? {});
  if (body === null || body === undefined) {
    if (type && status < 400) complain(where, "has no body, and one is described");
    continue;
  }
  const schema = response.content?.[type]?.schema;
  const check = ajv.compile({ ...structuredClone(schema), components: document.components });
  if (!check(body)) complain(where, "is not what is described:", ajv.errorsText(check.errors), JSON.stringify(body));
}
