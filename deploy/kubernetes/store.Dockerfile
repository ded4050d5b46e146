# The models alone, for an image volume: docker build --file deploy/kubernetes/store.Dockerfile --tag stepstream-store:1 model_store
FROM scratch
COPY . /
