// What is comparable to a decision: see ../python/decide.py.
import { processPartialResponse, SqsFifoPartialProcessorAsync } from '@aws-lambda-powertools/batch';
import { BatchGetItemCommand, DynamoDBClient, TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';

const { TABLE, QUEUE_COMMANDS } = process.env;
const sqs = new SQSClient({});
const dynamodb = new DynamoDBClient({});
const processor = new SqsFifoPartialProcessorAsync();

const key = (pk, sk) => ({ pk: { S: pk }, sk: { S: sk } });

function put(pk, sk, body, rev) {
  const condition = rev === 0
    ? { ConditionExpression: 'attribute_not_exists(#pk)', ExpressionAttributeNames: { '#pk': 'pk' } }
    : { ConditionExpression: '#rev = :seen', ExpressionAttributeNames: { '#rev': 'rev' }, ExpressionAttributeValues: { ':seen': { N: `${rev}` } } };
  return { Put: { TableName: TABLE, Item: { ...key(pk, sk), rev: { N: `${rev + 1}` }, body: { S: JSON.stringify(body) } }, ...condition } };
}

async function decide(record) {
  const event = JSON.parse(record.body);
  const order = event.data.orderId;
  const Keys = [key(`order#${order}`, 'state'), key(`seen#${event.id}`, 'seen')];
  const read = await dynamodb.send(new BatchGetItemCommand({ RequestItems: { [TABLE]: { Keys, ConsistentRead: true } } }));
  const found = read.Responses?.[TABLE] ?? [];
  if (found.some((item) => item.pk.S.startsWith('seen#'))) return;
  const rev = Number(found[0]?.rev.N ?? 0);
  const status = { order, status: 'charging', amount: event.data.total };
  const command = { do: 'create_payment', ...status };
  await dynamodb.send(new TransactWriteItemsCommand({
    TransactItems: [put(`order#${order}`, 'state', status, rev), put(`seen#${event.id}`, 'seen', {}, 0), put(`command#${event.id}`, 'command', command, 0)],
  }));
  await sqs.send(new SendMessageCommand({ QueueUrl: QUEUE_COMMANDS, MessageBody: JSON.stringify(command) }));
}

export const handler = (event, context) => processPartialResponse(event, decide, processor, { context });
