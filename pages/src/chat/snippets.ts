/** How a program asks for an answer with an API key: texts to copy. */

/** The address that clients of OpenAI's API need, of this deployment. */
export function baseUrl(): string {
  return new URL("v1", document.baseURI).href;
}

/** Programs read the key from the environment, so that it is not in their text. */
export function snippets(base: string, key: string, model: string): { name: string; text: string }[] {
  const environment = `export OPENAI_BASE_URL=${base}\nexport OPENAI_API_KEY=${key}\n`;
  const asked = JSON.stringify(model);
  return [
    {
      name: "Python",
      text: `${environment}pip install openai
python3 - <<'END'
from openai import OpenAI

client = OpenAI()
question = [{"role": "user", "content": "Hello AI"}]
answer = client.chat.completions.create(model=${asked}, messages=question)
print(answer.choices[0].message.content)
END
`,
    },
    {
      name: "JavaScript",
      text: `${environment}npm install openai
node --input-type=module - <<'END'
import OpenAI from "openai";

const client = new OpenAI();
const messages = [{ role: "user", content: "Hello AI" }];
const answer = await client.chat.completions.create({ model: ${asked}, messages });
console.log(answer.choices[0].message.content);
END
`,
    },
    {
      name: "curl",
      text: `curl ${base}/chat/completions \\
  -H "Authorization: Bearer ${key}" \\
  -H "Content-Type: application/json" \\
  -d '{"model": ${asked}, "messages": [{"role": "user", "content": "Hello AI"}]}'
`,
    },
  ];
}
