// The same server in two workers, which share the port.
const cluster = require('cluster');
if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
} else {
  require('http').createServer((request, response) => response.end('hello\n')).listen(process.env.PORT);
}
