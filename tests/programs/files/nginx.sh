# nginx.sh NGINX DAEMON LISTEN...: make nginx.conf for $PORT, and become nginx.
nginx=$1 daemon=$2
shift 2
for listen; do
    all="${all-}${all+;listen }$listen"
done
sed "s/DAEMON/$daemon/; s/LISTEN/$all/; s/PORT/$PORT/g" nginx.template > nginx.conf
exec "$nginx" -p "$PWD" -e stderr -c nginx.conf
