// The job of a receiving function as Powertools' guides show it: see ../python/receive.py.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';

const { QUEUE_EVENTS, TABLE, SECRET } = process.env;
const sqs = new SQSClient({});
const persistenceStore = new DynamoDBPersistenceLayer({ tableName: TABLE });
const config = new IdempotencyConfig({ eventKeyJmesPath: 'id', expiresAfterSeconds: 3 * 86400 });
const { SecretString } = await new SecretsManagerClient({}).send(new GetSecretValueCommand({ SecretId: SECRET }));
const secret = JSON.parse(SecretString).webhook_secret;

function genuine(header, body) {
  const parts = header.split(',').map((p) => p.split('='));
  const stamp = parts.find(([k]) => k === 't')?.[1] ?? '';
  const expected = createHmac('sha256', secret).update(`${stamp}.`).update(body).digest('hex');
  const same = (given) => given.length === expected.length && timingSafeEqual(Buffer.from(given), Buffer.from(expected));
  return parts.some(([k, v]) => k === 'v1' && same(v)) && Math.abs(Date.now() / 1000 - Number(stamp)) <= 300;
}

const take = makeIdempotent(async (event, body) => {
  await sqs.send(new SendMessageCommand({
    QueueUrl: QUEUE_EVENTS, MessageBody: body, MessageGroupId: event.data.object.id, MessageDeduplicationId: event.id,
  }));
  return { id: event.id };
}, { persistenceStore, config });

export async function handler(request, context) {
  config.registerLambdaContext(context);
  const body = Buffer.from(request.body, request.isBase64Encoded ? 'base64' : 'utf8');
  if (!genuine(request.headers['stripe-signature'] ?? '', body)) return { statusCode: 400, body: '{"error":"signature"}' };
  const text = body.toString();
  await take(JSON.parse(text), text);
  return { statusCode: 202, body: '{"code":"accepted"}' };
}
