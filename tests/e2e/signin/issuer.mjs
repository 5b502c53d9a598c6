// An OpenID provider on loopback with one person, one public client and tokens for one server.
//
//   node issuer.mjs '{"page": "http://127.0.0.1:8080/", "scopes": ["read"], ...}'
//
// It prints a line with its address once it listens. POST /tests/settings changes what it is told here:
// `scopes` that are permitted, `refreshes` whether it gives refresh tokens, `ends_in_s` when tokens end
// (below zero: they have), whatever it tells the client.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const settings = { scopes: ["read", "store", "delete", "render", "share"], refreshes: true, ends_in_s: 3600 };
Object.assign(settings, JSON.parse(process.argv[2]));

const PEOPLE = { doctor: { sub: "doctor", name: "Dr. Ada Doctor" } };
const PASSWORD = "correct horse";
const SCOPES = ["read", "store", "delete", "render", "share"];

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = providerAt(issuer);
  const answer = provider.callback();
  server.on("request", (request, response) => {
    if (request.url === "/tests/settings") return change(request, response);
    if (request.url === "/favicon.ico") return response.writeHead(204).end();
    if (request.url.startsWith("/sign-in/")) return signIn(provider, request, response);
    return answer(request, response);
  });
  console.log(issuer);
});

function providerAt(issuer) {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const provider = new Provider(issuer, {
    jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "one" }] },
    cookies: { keys: [randomBytes(16).toString("hex")] },
    clients: [
      {
        client_id: settings.client,
        application_type: "web",
        token_endpoint_auth_method: "none",
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        redirect_uris: [settings.page, `${settings.page}ohif/callback`],
        post_logout_redirect_uris: [settings.page, `${settings.page}ohif/`],
      },
    ],
    scopes: ["openid", "profile", ...SCOPES],
    claims: { openid: ["sub"], profile: ["name"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: () => settings.refreshes,
    clientBasedCORS: () => true,
    interactions: { url: (_, { uid }) => `/sign-in/${uid}` },
    findAccount: (_, id) => PEOPLE[id] && { accountId: id, claims: () => PEOPLE[id] },
    loadExistingGrant: (context) => granted(provider, context),
    ttl: { AccessToken: 3600, AuthorizationCode: 60, Grant: 3600, IdToken: 3600, Interaction: 600, RefreshToken: 3600, Session: 3600 },
    formats: { customizers: { jwt: (_, __, { payload }) => limit(payload) } },
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true, logoutSource: askWhetherToLeave },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => settings.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: SCOPES.join(" "),
          audience: settings.audience,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  });
  return provider;
}

function askWhetherToLeave(context, form) {
  context.body = `<!doctype html><title>Sign out</title>${form}
<button name="logout" value="yes" form="op.logoutForm">Sign out</button>`;
}

/** What somebody permits the client: nobody is asked. */
async function granted(provider, { oidc }) {
  const grant = new provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
  grant.addOIDCScope("openid profile");
  grant.addResourceScope(settings.audience, SCOPES.join(" "));
  await grant.save();
  return grant;
}

/** An access token as it is to be at the moment: it ends when it is told to, and permits as much. */
function limit(payload) {
  payload.exp = Math.floor(Date.now() / 1000) + settings.ends_in_s;
  payload.scope = settings.scopes.join(" ");
}

async function signIn(provider, request, response) {
  let refused = "";
  if (request.method === "POST") {
    const told = new URLSearchParams(await bodyOf(request));
    if (told.has("cancel")) {
      const result = { error: "access_denied", error_description: "The person said no." };
      return provider.interactionFinished(request, response, result);
    }
    if (PEOPLE[told.get("name")] && told.get("password") === PASSWORD) {
      return provider.interactionFinished(request, response, { login: { accountId: told.get("name") } });
    }
    refused = "<p>Wrong name or password.</p>";
  }
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end(`<!doctype html><title>Sign in</title><h1>Sign in</h1>${refused}<form method="post">
<input name="name" autofocus><input name="password" type="password"><button>Go on</button>
<button name="cancel" value="yes">Cancel</button></form>`);
}

async function change(request, response) {
  Object.assign(settings, JSON.parse(await bodyOf(request)));
  response.end("{}");
}

async function bodyOf(request) {
  const blocks = [];
  for await (const block of request) blocks.push(block);
  return Buffer.concat(blocks).toString();
}
