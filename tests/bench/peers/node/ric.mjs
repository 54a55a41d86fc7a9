// A runtime for Node as small as can be: `node ric.mjs ./receive.mjs` speaks the Lambda Runtime API. (AWS's own, aws-lambda-ric,
// compiles C++ as it is installed; it would only be slower.)
import http from 'node:http';

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, method, agent, path: `/2018-06-01/runtime/${path}` }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(parts).toString() }));
    });
    request.on('error', reject);
    request.setNoDelay(true);
    request.end(body);
  });
}

const { handler } = await import(process.argv[2]);
for (;;) {
  const next = await call('GET', 'invocation/next');
  const awsRequestId = next.headers['lambda-runtime-aws-request-id'];
  const deadline = Number(next.headers['lambda-runtime-deadline-ms']);
  const context = { awsRequestId, getRemainingTimeInMillis: () => deadline - Date.now(), functionName: process.env.AWS_LAMBDA_FUNCTION_NAME };
  try {
    const answer = await handler(JSON.parse(next.body), context);
    await call('POST', `invocation/${awsRequestId}/response`, JSON.stringify(answer));
  } catch (error) {
    await call('POST', `invocation/${awsRequestId}/error`, JSON.stringify({ errorType: error.name, errorMessage: `${error.message}` }));
  }
}
