# The server with its models, one thing to roll out and to roll back:
# docker build --file deploy/kubernetes/models.Dockerfile --tag stepstream-models:0.1.0 model_store
ARG SERVER_IMAGE=stepstream:0.1.0
FROM ${SERVER_IMAGE}
COPY . /models
