// Load on Stepstream from k6: arrivals at a constant rate, each of which streams one sentence.
//
//   k6 run deploy/loadtest/k6.js
//   k6 run -e ADDRESS=127.0.0.1:8001 -e MODEL=en-de-transformer -e RATE=50 -e DURATION=30s deploy/loadtest/k6.js
//
// TLS=1 and TOKEN=... are for a server that asks for them.

import { check } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { Client, Stream } from 'k6/net/grpc';

const ADDRESS = __ENV.ADDRESS || '127.0.0.1:8001';
const MODEL = __ENV.MODEL || 'en-de-transformer';
const RATE = Number(__ENV.RATE || 20);
const DURATION = __ENV.DURATION || '30s';
const METHOD = 'stepstream.v1.TranslationService/StreamTranslate';
const SENTENCES = [
  'A man in a blue shirt is standing on a ladder.',
  'Two dogs play in the snow.',
  'A girl reads a book.',
];

const firstToken = new Trend('first_token', true);
const betweenTokens = new Trend('between_tokens', true);
const whole = new Trend('whole', true);
const tokens = new Counter('tokens');
const answered = new Rate('answered');

const client = new Client();
client.load(['../../protos/stepstream/v1'], 'translation.proto');
let isConnected = false;

export const options = {
  scenarios: {
    open_loop: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: DURATION,
      preAllocatedVUs: 4 * RATE,
      maxVUs: 40 * RATE,
    },
  },
  thresholds: {
    answered: ['rate>0.99'],
    first_token: ['p(99)<1000'],
  },
};

export default function () {
  if (!isConnected) {
    client.connect(ADDRESS, { plaintext: !__ENV.TLS });
    isConnected = true;
  }
  const metadata = __ENV.TOKEN ? { authorization: `Bearer ${__ENV.TOKEN}` } : {};
  const stream = new Stream(client, METHOD, { metadata, timeout: '60s' });
  const began = Date.now();
  let last = 0;
  let isComplete = false;
  let isFinished = false;

  stream.on('data', (message) => {
    const now = Date.now();
    if (message.step) {
      tokens.add(1);
      (last ? betweenTokens : firstToken).add(now - (last || began));
      last = now;
    }
    isComplete = isComplete || Boolean(message.completion);
  });
  const finish = () => {
    if (isFinished) return;
    isFinished = true;
    if (check(isComplete, { 'the stream is complete': (complete) => complete })) {
      whole.add(Date.now() - began);
    }
    answered.add(isComplete);
  };
  stream.on('error', finish);
  stream.on('end', finish);

  const text = SENTENCES[exec.scenario.iterationInTest % SENTENCES.length];
  stream.write({ model: MODEL, text });
  stream.end();
}
